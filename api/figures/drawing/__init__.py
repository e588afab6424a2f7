"""How the figures look: from values to Plotly figures."""
