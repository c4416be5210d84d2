// The main function of every test program, from Catch2.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
