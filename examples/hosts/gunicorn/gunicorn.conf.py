"""How gunicorn runs the shop: threads that wait for Klarna, and enough time for a call."""

wsgi_app = "wsgi"
workers = 2
worker_class = "gthread"
threads = 8
# A worker that is killed in the middle of a call leaves its outcome unknown:
# longer than the 25 seconds that a call of takings may last.
timeout = 30
graceful_timeout = 30
