"""Decision records and budgets of exposure, as the data path keeps them."""
