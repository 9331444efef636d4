"""The settings of the project. What concerns sentq: `INSTALLED_APPS`, `MIDDLEWARE`, `SENTQ`."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).parents[1]

SECRET_KEY = os.environ.get("SECRET_KEY", "of an example")
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
USE_TZ = True

INSTALLED_APPS = [
    "sentq.contrib.django",
    "reviews",
]
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "sentq.contrib.django.middleware.ProblemMiddleware",
]

# SENTQ_BROKER_URL, or "BROKER_URL" here, says where Redis is.
SENTQ = {
    "MAX_QUEUED_JOBS": 100_000,
}

ROOT_URLCONF = "website.urls"
WSGI_APPLICATION = "website.wsgi.application"
ASGI_APPLICATION = "website.asgi.application"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("REVIEWS_DB", BASE_DIR / "reviews.sqlite3"),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
