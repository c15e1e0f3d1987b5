"""A Django view that lets one request at a time book a seat."""

from django.conf import settings
from django.http import JsonResponse
from django.urls import path
from locks import client

if not settings.configured:
    settings.configure(ALLOWED_HOSTS=["testserver"], ROOT_URLCONF=__name__)

seats = {"12a": None}


def book(request, seat, user):
    lock = client(settings.SLOCK_URL).lock(f"seat:{seat}", lease=10)
    try:
        grant = lock.acquire(timeout=2)
    except TimeoutError:
        return JsonResponse({"error": "try again"}, status=503)
    with grant:
        seats[seat] = seats[seat] or user
        return JsonResponse({"seat": seat, "user": seats[seat]})


urlpatterns = [path("seats/<str:seat>/<str:user>", book)]
