// Which symbols leave the shared libraries. Everything else is hidden.
#pragma once

#define HAUL_API __attribute__((visibility("default")))
