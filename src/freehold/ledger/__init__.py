"""What it costs and who pays: rates, later also reservations, budgets and reports. Knows no HTTP and no upstream."""
