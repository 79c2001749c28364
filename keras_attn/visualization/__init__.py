"""Reports, charts, overlays, timelines and figures."""
