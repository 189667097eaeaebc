"""DICOM: headers, checks, series as volumes, and the SEG and RTSTRUCT labels drawn on them."""
