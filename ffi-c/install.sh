#!/usr/bin/env bash
# Puts the C and C++ library that `make library` built in place, or takes it away again:
#
#     PREFIX=/usr/local DESTDIR= LIBDIR=lib ffi-c/install.sh install
#     PREFIX=/usr/local DESTDIR= LIBDIR=lib ffi-c/install.sh uninstall
#
# PREFIX is where it will be used, DESTDIR a folder to put before it (for those who make packages), LIBDIR where
# libraries go, below PREFIX. Root calls this script: it runs no compiler and needs no Rust.
set -eu
cd "$(dirname "$0")/.."
built=${CARGO_TARGET_DIR:-$PWD/target}/release
# An empty variable counts as absent: make passes all three on.
PREFIX=${PREFIX:-/usr/local}
LIBDIR=${LIBDIR:-lib}
DESTDIR=${DESTDIR:-}

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

case ${1:-} in
install | uninstall) action=$1 ;;
*) fail "say install or uninstall" ;;
esac
case $PREFIX in
/* | [A-Za-z]:*) ;;
"~"*) fail "PREFIX is $PREFIX, which no shell has read; write \$HOME for ~" ;;
*) PREFIX=$PWD/$PREFIX ;;
esac
PREFIX=${PREFIX%/}
# Below PREFIX, so that the whole can be moved.
LIBDIR=${LIBDIR#"$PREFIX"/}
LIBDIR=${LIBDIR%/}
case $LIBDIR in
/* | *..*) fail "LIBDIR is $LIBDIR; it must be a folder below PREFIX ($PREFIX), such as lib64" ;;
esac
[ "$action" = uninstall ] || [ -e "$built/native-static-libs" ] ||
    fail "$built holds no library yet; type: make library"

workspace() { sed -n "s/^$1 = \"\(.*\)\"/\1/p" Cargo.toml | head -n 1; }
version=$(workspace version)
abi=$(sed -n 's/^abi //p' ffi-c/abi.txt)
prefix=$DESTDIR$PREFIX
libdir=$prefix/$LIBDIR
# from $LIBDIR up to PREFIX: a step for each folder in its name
up=$(sed 's,[^/][^/]*,..,g' <<<"$LIBDIR")

# --- what each file becomes -----------------------------------------------------------------------------------

folder() { [ "$action" = uninstall ] || mkdir -p "$1"; }
put() { # MODE FILE DESTINATION
    folder "$(dirname "$3")"
    if [ "$action" = install ]; then install -m "$1" "$2" "$3"; else rm -f "$3"; fi
}
link() { # WHERE DESTINATION
    folder "$(dirname "$2")"
    if [ "$action" = install ]; then ln -sf "$1" "$2"; else rm -f "$2"; fi
}
# A text from standard input.
write() { # DESTINATION
    folder "$(dirname "$1")"
    if [ "$action" = install ]; then
        cat >"$1"
        chmod 644 "$1"
    else
        rm -f "$1"
    fi
}
# A folder of our own, once it is empty.
leave() { [ "$action" = install ] || rmdir "$1" 2>/dev/null || true; }

# --- libraries ------------------------------------------------------------------------------------------------

# The name for the linker, the name for the loader, and the file itself.
more=
static=libtakings.a
case $(uname -s) in
Linux)
    shared=$LIBDIR/libtakings.so.$version
    put 755 "$built/libtakings.so" "$prefix/$shared"
    link "libtakings.so.$version" "$libdir/libtakings.so.$abi"
    link "libtakings.so.$abi" "$libdir/libtakings.so"
    more="IMPORTED_SONAME \"libtakings.so.$abi\""
    ;;
Darwin)
    shared=$LIBDIR/libtakings.$version.dylib
    put 755 "$built/libtakings.dylib" "$prefix/$shared"
    link "libtakings.$version.dylib" "$libdir/libtakings.$abi.dylib"
    link "libtakings.$abi.dylib" "$libdir/libtakings.dylib"
    more="IMPORTED_SONAME \"@rpath/libtakings.$abi.dylib\""
    ;;
MINGW* | MSYS* | CYGWIN*)
    shared=bin/takings.dll
    put 755 "$built/takings.dll" "$prefix/$shared"
    # as rustc names them for Microsoft's linker, and for GNU's
    for import in takings.dll.lib libtakings.dll.a; do
        if [ -e "$built/$import" ]; then
            put 644 "$built/$import" "$libdir/$import"
            more="IMPORTED_IMPLIB \"\${_takings_libdir}/$import\""
        fi
    done
    [ -e "$built/libtakings.a" ] || static=takings.lib
    ;;
*) fail "$(uname -s) is not known here: copy libraries and headers by hand" ;;
esac
put 644 "$built/$static" "$libdir/$static"
# The debug information is half of the file and describes code that no user steps through. Microsoft's linker has no
# strip.
if [ "$action" = install ] && [ "$static" = libtakings.a ]; then
    strip -S "$libdir/$static"
fi

# --- headers, and how to find them ----------------------------------------------------------------------------

put 644 include/takings.h "$prefix/include/takings.h"
put 644 include/takings.hpp "$prefix/include/takings.hpp"

native=
[ "$action" = uninstall ] || native=$(cat "$built/native-static-libs")
# -lutil is util for CMake, and a framework's two words are one item.
cmake_native=
for word in $native; do
    case $word in
    -framework) cmake_native+="$word " ;;
    *) cmake_native+="${word#-l};" ;;
    esac
done
fill() {
    sed -e "s|@VERSION@|$version|g" \
        -e "s|@URL@|$(workspace repository)|" \
        -e "s|@LICENCE@|$(workspace license)|" \
        -e "s|@UP_FROM_PKGCONFIG@|../$up|" \
        -e "s|@UP_FROM_CMAKE@|../../$up|" \
        -e "s|@SHARED@|$shared|" \
        -e "s|@MORE@|$more|" \
        -e "s|@STATIC@|$static|" \
        -e "s|@CMAKE_NATIVE@|${cmake_native%;}|" \
        -e "s|@NATIVE@|$native|" "ffi-c/install/$1.in"
}
fill takings.pc | write "$libdir/pkgconfig/takings.pc"
for file in takings-config.cmake takings-config-version.cmake; do
    fill "$file" | write "$libdir/cmake/takings/$file"
done

# --- what other languages read instead of the header ----------------------------------------------------------

# PHP's FFI reads declarations but no preprocessor.
sed -e '/^#ifdef __cplusplus/,/^#endif/d' -e '/^#/d' include/takings.h | write "$prefix/share/takings/takings.ffi.h"
# The numbers of the enums, for COBOL.
{
    echo "      *> The numbers of takings.h $version."
    sed -n 's/^  \(TAKINGS_[A-Z_]*\) = \([0-9]*\),$/\1 \2/p' include/takings.h | while read -r name number; do
        printf '       78 %s VALUE %s.\n' "$(tr _ - <<<"$name")" "$number"
    done
} | write "$prefix/share/takings/takings.cpy"

put 644 LICENSE-MIT "$prefix/share/doc/takings/LICENSE-MIT"
put 644 LICENSE-APACHE "$prefix/share/doc/takings/LICENSE-APACHE"

leave "$prefix/share/doc/takings"
leave "$prefix/share/takings"
leave "$libdir/cmake/takings"
case $action in
install) echo "takings $version is installed in $prefix" ;;
uninstall) echo "takings is gone from $prefix" ;;
esac
