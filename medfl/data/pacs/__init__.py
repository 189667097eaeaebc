"""Getting a hospital's images out of its PACS, by DICOMweb or DIMSE. The list of studies is kept in memory only."""
