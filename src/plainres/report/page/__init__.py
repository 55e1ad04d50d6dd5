"""The report as one page to explore: a single HTML file that needs no server, no network and no other file.

Altair describes the charts, because Vega-Lite is well kept, draws SVG that follows the theme of the page, and its
scripts from vl-convert take 0.9 MB inside the page, where Plotly's take several.

`content` says what the page holds, `curves`, `budgets`, `layers` and `effects` describe its charts, `tables` its
tables, and `build` puts them into `page.html.jinja`. `page.js` draws the charts of the chosen study and sorts tables;
`page.css` has all colours, those of the charts too.
"""

from plainres.report.page.build import page_html, write_page

__all__ = ["page_html", "write_page"]
