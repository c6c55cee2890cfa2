"""Sinks: where a run's values and sample images go. All share the interface of `Sink`; `registry` has their names."""

from .html_page import HtmlSink, open_html
from .json_lines import JsonLinesSink
from .sink import Sink, Warn
from .visdom_windows import VisdomSink, open_visdom

__all__ = ["HtmlSink", "JsonLinesSink", "Sink", "VisdomSink", "Warn", "open_html", "open_visdom"]
