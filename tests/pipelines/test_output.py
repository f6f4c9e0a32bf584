"""What leaves a process as a page: names from data stay text."""

import pytest
from markdown_it import MarkdownIt

from pipelines import output

NAMES = ("<img src=x onerror=alert(1)>", "[here](javascript:alert(1))", "![a](http://127.0.0.1:9/x.png)", "a_b_c *d* `e`", "a$_$b",
         "x|y # z", "back\\slash\\*", "&lt;b&gt;", "1 < 2 & 3 > 2")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_markup_in_markdown(name):
    """Read by CommonMark's own rules, in the middle of a line as Prefect's page has it, one piece of text is left: the name."""
    inline = MarkdownIt("commonmark", {"html": True}).parseInline(f"held: {output.as_markdown(name)}")[0]
    assert {child.type for child in inline.children} <= {"text", "text_special"}
    assert "".join(child.content for child in inline.children) == f"held: {name}"
