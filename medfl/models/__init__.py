"""Trained models, opened to be used: predicted with, exported, handed on."""
