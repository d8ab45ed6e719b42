"""One query as a page: what each stage did with every candidate, and what other settings would do.

A page is one HTML file with no outside script, style or font.
"""

from __future__ import annotations

from stepwell.page.view import framed, page_of, view_of, written

__all__ = ["framed", "page_of", "view_of", "written"]
