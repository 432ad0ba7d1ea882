"""Train one student with several settings and rank them."""
