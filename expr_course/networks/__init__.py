"""Networks: generators and critics, as plain modules that know nothing of data or training."""
