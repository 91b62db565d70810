"""What is asked and what is told: options, jobs, events, wishes. No torch in here."""
