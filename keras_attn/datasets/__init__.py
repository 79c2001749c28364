"""Which videos there are and what is known of them: tables, scanning, splitting."""
