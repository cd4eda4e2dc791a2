"""Needs what nobody has installed."""

import a_library_that_is_not_there

Whispering = a_library_that_is_not_there.Whispering
