"""DICOM: headers, checks, series as volumes, and labels drawn on them."""
