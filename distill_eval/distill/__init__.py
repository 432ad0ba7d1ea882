"""Train a student on what its teacher knows: losses, the teacher's signal, data, the trainer."""
