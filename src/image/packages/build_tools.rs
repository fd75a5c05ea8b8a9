//! Packages that only builds need, by their names in Debian, Alpine and RPM distributions.

/// Packages whose names do not end with `-dev` or `-devel`, without version.
const TOOLS: [&str; 22] = [
    "autoconf",
    "automake",
    "binutils",
    "bison",
    "build-base",
    "build-essential",
    "cargo",
    "clang",
    "cmake",
    "cpp",
    "flex",
    "g++",
    "gcc",
    "gcc-c++",
    "golang",
    "golang-go",
    "libtool",
    "make",
    "meson",
    "ninja-build",
    "rustc",
    "valgrind",
];

/// Whether a package is a compiler, its headers, or another tool that only builds need.
pub fn is_build_tool(name: &str) -> bool {
    if name.ends_with("-dev") || name.ends_with("-devel") || TOOLS.contains(&name) {
        return true;
    }
    // `gcc-12`, `g++-12-x86-64-linux-gnu`, `binutils-common`; not `gcc-12-base`, which libraries need.
    TOOLS.iter().any(|tool| {
        let rest = name.strip_prefix(tool).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|rest| {
            !rest.ends_with("base")
                && (*tool == "binutils" || rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_tools_by_name() {
        for name in
            ["gcc", "gcc-12", "g++-12", "libc6-dev", "zlib-devel", "binutils-common", "gcc-c++"]
        {
            assert!(is_build_tool(name), "{name}");
        }
        for name in ["gcc-12-base", "libgcc-s1", "makedev", "flexible", "udev", "cargo-cult"] {
            assert!(!is_build_tool(name), "{name}");
        }
    }
}
