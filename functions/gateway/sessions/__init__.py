"""Sessions: their record, their log, who drives them and who reads them."""
