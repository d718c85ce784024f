"""A shop in Django, in one file: `gunicorn project:application`.

POST /orders/ORDER_ID/parcels/NAME with {"amount": "60.00", "currency": "EUR"} captures a parcel
that ships. It may be called as often as you like: the same parcel is captured once.
"""

import json

import takings
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="of this example")

# In a project: in a module of the app, such as shop/klarna.py, and not in a
# view. It is one for the process, and each process that is forked from it opens
# connections of its own.
klarna = takings.Client.from_env()


@csrf_exempt
@require_POST
def ship(request: HttpRequest, order_id: str, name: str) -> JsonResponse:
    parcel = json.loads(request.body)
    try:
        capture = klarna.capture(
            order_id,
            captured_amount=takings.minor(parcel["amount"], parcel["currency"]),
            reference=name,
            idempotency_key=takings.idempotency_key(order_id, name),
        )
    except takings.InvalidInput as error:
        return JsonResponse({"detail": str(error)}, status=400)
    except takings.TakingsError as error:
        # 503: not known, or not now; the same request again settles it
        return JsonResponse({"detail": str(error)}, status=503 if error.retryable else 409)
    return JsonResponse({"capture_id": capture.capture_id})


urlpatterns = [path("orders/<str:order_id>/parcels/<str:name>", ship)]
application = get_wsgi_application()
