"""What every process stands on: errors, settings, service, journal, metrics, varlink, confine."""
