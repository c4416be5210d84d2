#!/usr/bin/env bash
# Installs the libraries of a build into a temporary prefix, and builds and runs a separate project against that.
#   consumer_test.sh cmake|pkgconfig BUILD_FOLDER COMPILER
set -euo pipefail

way=$1 build=$2 compiler=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

cmake --install "$build" --prefix "$prefix" --component library >"$work/install.log" || { cat "$work/install.log"; exit 1; }

case $way in
  cmake)
    cmake -S "$here" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER="$compiler"
    cmake --build "$work/build"
    consumer=$work/build/consumer
    ;;
  pkgconfig)
    pkg_config_path=$(find "$prefix" -name pkgconfig -type d)
    export PKG_CONFIG_PATH=$pkg_config_path
    read -ra flags <<<"$(pkg-config --cflags --libs haul haul-tcp haul-sim)"
    "$compiler" -std=c++20 -o "$work/consumer" "$here/consumer.cc" "${flags[@]}" \
      "-Wl,-rpath,$(pkg-config --variable=libdir haul)"
    consumer=$work/consumer
    ;;
  *)
    echo "usage: consumer_test.sh cmake|pkgconfig BUILD_FOLDER COMPILER" >&2
    exit 2
    ;;
esac

# The program uses the installed library, under its SONAME, and not the one in the build folder.
loaded=$(ldd "$consumer" | awk '$1 == "libhaul.so.0.1" { print $3 }')
case $loaded in
  "$prefix"/*) ;;
  *) echo "consumer: libhaul.so.0.1 was to come from $prefix, not from '$loaded'" >&2; exit 1 ;;
esac
"$consumer"
