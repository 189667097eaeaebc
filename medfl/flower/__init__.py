"""Every private or undocumented name of Flower that medfl uses: an upgrade of Flower is the work of this room."""
