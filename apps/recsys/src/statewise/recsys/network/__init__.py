"""The neural recommender: item table, encoder, objective and loss, each chosen from a small table."""
