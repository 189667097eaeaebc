"""Retrieval of a hospital's images from its PACS, over DICOMweb or DIMSE. The list of studies is kept in memory only."""
