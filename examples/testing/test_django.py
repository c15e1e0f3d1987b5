"""A Django view that publishes through triopoll, called by Django's test client."""

import json
from urllib.request import Request, urlopen

import django
import pytest
from django.conf import settings
from django.http import JsonResponse
from django.test import Client, override_settings
from django.urls import path

settings.configure(ALLOWED_HOSTS=["testserver"], ROOT_URLCONF=__name__)
django.setup()


def pay(request, order):
    message = {"key": f"orders.{order}", "data": "paid", "id": f"paid-{order}"}
    headers = {"Authorization": f"Bearer {settings.PUSH_KEY}"}
    url = f"{settings.PUSH_URL}/v1/publish"
    with urlopen(Request(url, json.dumps(message).encode(), headers)):
        return JsonResponse({"order": order})


urlpatterns = [path("orders/<int:order>/pay", pay)]


@pytest.fixture(autouse=True)
def push(triopoll_server):
    with override_settings(
        PUSH_URL=triopoll_server.url, PUSH_KEY=triopoll_server.api_key
    ):
        yield triopoll_server


def test_a_payment_is_published(push):
    assert Client().post("/orders/17/pay").json() == {"order": 17}
    assert push.messages("orders.17") == ["paid"]
