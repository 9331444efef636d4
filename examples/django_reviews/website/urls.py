"""The addresses of the project."""

from django.urls import path

from reviews import views

urlpatterns = [
    path("mood", views.score_text),
    path("mood-async", views.score_text_async),
    path("reviews", views.add_review),
    path("reviews/<int:pk>", views.show_review, name="review"),
]
