"""Session cookie to ticket with Django, in one file.

``ticket`` is the view for your project; the rest stands for what it has already.
"""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST
from tickets import ticket_for

if not settings.configured:
    settings.configure(
        SECRET_KEY="for this example only",
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["127.0.0.1", "localhost", "testserver"],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
    )


@require_POST
def ticket(request):
    # With django.contrib.auth: request.user.is_authenticated, request.user.pk
    if "user" not in request.session:
        return HttpResponse(status=401)
    return JsonResponse({"ticket": ticket_for(request.session["user"])})


@require_POST
@ensure_csrf_cookie
def sign_in(request, user):
    request.session["user"] = user  # in your application: django.contrib.auth.login
    return JsonResponse({})


urlpatterns = [path("sign-in/<user>", sign_in), path("ticket", ticket)]
app = get_wsgi_application()
