"""The settings of the project. Tests override `SENTQ`."""

SECRET_KEY = "for tests"
USE_TZ = True
ROOT_URLCONF = "tests.support.django_site.urls"
INSTALLED_APPS = ["sentq.contrib.django", "tests.support.django_site"]
MIDDLEWARE = ["sentq.contrib.django.middleware.ProblemMiddleware"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
