"""A Django project for tests of `sentq.contrib.django`: an application with one model."""
