"""All private or undocumented names of Flower that medfl uses: an upgrade of Flower changes only this folder."""
