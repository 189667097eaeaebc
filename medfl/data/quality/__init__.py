"""Quality of the images of a site, for `medfl data check`: facts about each case, and which cannot be used and why."""
