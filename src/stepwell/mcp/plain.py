"""A tool that takes the arguments it names and no others, and says plainly what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from pydantic import ValidationError

from stepwell.refusal import faults, unknown


class PlainTool(Tool):
    """The SDK's tool, which by itself drops unknown arguments and answers in pydantic's words."""

    @classmethod
    def of(cls, function: Callable[..., Any], /, **options: Any) -> PlainTool:
        """A tool made from a function; options are those of `Tool.from_function`."""
        made = cast("PlainTool", cls.from_function(function, **options))
        made.parameters["additionalProperties"] = False
        return made

    async def run(self, arguments: dict[str, Any], *rest: Any, **more: Any) -> Any:
        """Call the function.

        Raises:
            ToolError: What the agent reads: an argument is unknown or wrong, or the function
                raised it.
        """
        if said := unknown(arguments, self.parameters["properties"], what="argument"):
            raise ToolError(said)
        try:
            return await super().run(arguments, *rest, **more)
        except ToolError as error:
            cause = error.__cause__
            if isinstance(cause, ValidationError):
                raise ToolError(faults(cause.errors(include_input=False))) from None
            # Without the SDK's "Error executing tool".
            raise cause if isinstance(cause, ToolError) else error from None
