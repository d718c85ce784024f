"""Where the jobs come from."""

broker_url = "amqp://guest@localhost//"
