"""The report as one page to explore: a single HTML file that needs no server, no network and no other file.

Altair describes the charts and vl-convert supplies Vega's scripts. Drop-downs, legends that can be clicked and zooming
are Altair's own, so that the page has no code of its own but the one that draws the charts at the width of the window.
"""

from plainres.report.page.build import page_html, write_page

__all__ = ["page_html", "write_page"]
