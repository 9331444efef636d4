"""`sentq_status`, `sentq_dead` and `sentq_score`, one module for each, as Django finds them."""
