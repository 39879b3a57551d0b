//! Every option of GNU ld for x86-64: whether it takes a value, and what it means for the image's
//! link.

/// How an option gets its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// No value.
    Nothing,
    /// A value: `--name=value`, `--name value`.
    Value,
    /// An optional value, which must be joined: `--name[=value]`.
    Joined,
}

/// What an option means for the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The image's link gets it unchanged.
    Keep,
    /// Only the host link gets it: it concerns dynamic linking, side outputs or diagnostics.
    HostOnly,
    /// The value is a symbol: the image's link gets it with the prefix.
    Symbol,
    /// `--defsym NAME=EXPRESSION`.
    Defsym,
    /// `--wrap SYMBOL`.
    Wrap,
    /// `-e SYMBOL`.
    Entry,
    /// `-l NAME`.
    Library,
    /// `-L DIR`.
    LibraryPath,
    /// `--sysroot=DIR`.
    Sysroot,
    /// `-o FILE`.
    Output,
    /// `-T FILE`.
    Script,
    /// `-b FORMAT`, for the files that follow.
    InputFormat,
    /// `--oformat FORMAT`.
    OutputFormat,
    /// `-m EMULATION`.
    Emulation,
    /// `-shared`.
    Shared,
    /// `-r` and `-Ur`.
    Relocatable,
    /// `-pie`.
    Pie,
    /// `-no-pie`.
    NoPie,
    /// `-static`, `-Bstatic`.
    Static,
    /// `-Bdynamic`.
    Dynamic,
    /// `--no-dynamic-linker`.
    NoDynamicLinker,
    /// `-I FILE`.
    DynamicLinker,
    /// `--start-group`, `--end-group`.
    Group,
    /// `--whole-archive`, `--push-state` and the like, whose position among the inputs matters.
    Positional,
    /// `-plugin FILE`.
    Plugin,
    /// `-plugin-opt ARG`.
    PluginOption,
    /// `-z KEYWORD`.
    Keyword,
    /// `-s`.
    StripAll,
    /// `-S`.
    StripDebug,
    /// `-R FILE`.
    JustSymbols,
    /// `--version`: prints and exits.
    Version,
    /// `-v`, `-V`: prints, and links if there are inputs.
    Verbose,
    /// `--help`, `--target-help`, `--print-*`: prints and exits.
    Inform,
}

/// One option.
#[derive(Debug, PartialEq, Eq)]
pub struct Opt {
    /// Its names, without dashes. One letter means a short option.
    pub names: &'static [&'static str],
    /// How it gets its value.
    pub takes: Takes,
    /// What it means.
    pub role: Role,
}

const fn opt(names: &'static [&'static str], takes: Takes, role: Role) -> Opt {
    Opt { names, takes, role }
}

use Role::*;
use Takes::*;

/// The table. Names come in the order of `ld --help`.
pub static OPTIONS: &[Opt] = &[
    opt(&["a"], Value, HostOnly),
    opt(&["A", "architecture"], Value, Keep),
    opt(&["audit"], Value, HostOnly),
    opt(&["b", "format"], Value, InputFormat),
    opt(&["c", "mri-script"], Value, Keep),
    opt(&["d", "dc", "dp"], Nothing, Keep),
    opt(&["dependency-file"], Value, HostOnly),
    opt(&["force-group-allocation"], Nothing, Keep),
    opt(&["e", "entry"], Value, Entry),
    opt(
        &["E", "export-dynamic", "no-export-dynamic"],
        Nothing,
        HostOnly,
    ),
    opt(&["enable-non-contiguous-regions"], Nothing, Keep),
    opt(
        &["enable-non-contiguous-regions-warnings"],
        Nothing,
        HostOnly,
    ),
    opt(&["EB"], Nothing, HostOnly),
    opt(&["EL"], Nothing, HostOnly),
    opt(&["f", "auxiliary"], Value, HostOnly),
    opt(&["F", "filter"], Value, HostOnly),
    opt(&["g"], Nothing, HostOnly),
    opt(&["G", "gpsize"], Value, HostOnly),
    opt(&["h", "soname"], Value, HostOnly),
    opt(&["I", "dynamic-linker"], Value, DynamicLinker),
    opt(&["no-dynamic-linker"], Nothing, NoDynamicLinker),
    opt(&["l", "library"], Value, Library),
    opt(&["L", "library-path"], Value, LibraryPath),
    opt(&["sysroot"], Value, Sysroot),
    opt(&["m"], Value, Emulation),
    opt(&["M", "print-map"], Nothing, HostOnly),
    opt(&["n", "nmagic"], Nothing, HostOnly),
    opt(&["N", "omagic"], Nothing, HostOnly),
    opt(&["no-omagic"], Nothing, HostOnly),
    opt(&["o", "output"], Value, Output),
    opt(&["O"], Joined, Keep),
    opt(&["out-implib"], Value, HostOnly),
    opt(&["plugin"], Value, Plugin),
    opt(&["plugin-opt"], Value, PluginOption),
    opt(&["flto", "flto-partition", "fuse-ld"], Joined, HostOnly),
    opt(
        &["map-whole-files", "no-map-whole-files"],
        Nothing,
        HostOnly,
    ),
    opt(&["Qy"], Nothing, HostOnly),
    opt(&["q", "emit-relocs"], Nothing, HostOnly),
    opt(&["r", "i", "relocatable", "Ur"], Nothing, Relocatable),
    opt(&["R", "just-symbols"], Value, JustSymbols),
    opt(&["s", "strip-all"], Nothing, StripAll),
    opt(&["S", "strip-debug"], Nothing, StripDebug),
    opt(&["strip-discarded", "no-strip-discarded"], Nothing, Keep),
    opt(&["t", "trace"], Nothing, HostOnly),
    opt(&["T", "script"], Value, Script),
    opt(&["dT", "default-script"], Value, Script),
    opt(&["u", "undefined"], Value, Symbol),
    opt(&["require-defined"], Value, Symbol),
    opt(&["unique"], Joined, Keep),
    opt(&["version"], Nothing, Version),
    opt(&["v"], Nothing, Verbose),
    opt(&["V"], Nothing, Verbose),
    opt(&["x", "discard-all"], Nothing, Keep),
    opt(&["X", "discard-locals"], Nothing, Keep),
    opt(&["discard-none"], Nothing, Keep),
    opt(&["y", "trace-symbol"], Value, HostOnly),
    opt(&["Y"], Value, HostOnly),
    opt(&["(", "start-group"], Nothing, Group),
    opt(&[")", "end-group"], Nothing, Group),
    opt(
        &["accept-unknown-input-arch", "no-accept-unknown-input-arch"],
        Nothing,
        Keep,
    ),
    opt(&["as-needed", "no-as-needed"], Nothing, HostOnly),
    opt(&["assert"], Value, HostOnly),
    opt(&["Bdynamic", "dy", "call_shared"], Nothing, Dynamic),
    opt(&["Bstatic", "dn", "non_shared", "static"], Nothing, Static),
    opt(
        &["Bno-symbolic", "Bsymbolic", "Bsymbolic-functions", "Bgroup"],
        Nothing,
        HostOnly,
    ),
    opt(&["check-sections", "no-check-sections"], Nothing, Keep),
    opt(
        &["copy-dt-needed-entries", "no-copy-dt-needed-entries"],
        Nothing,
        HostOnly,
    ),
    opt(&["add-needed", "no-add-needed"], Nothing, HostOnly),
    opt(&["cref"], Nothing, HostOnly),
    opt(&["defsym"], Value, Defsym),
    opt(&["demangle"], Joined, HostOnly),
    opt(&["no-demangle"], Nothing, HostOnly),
    opt(&["disable-multiple-abs-defs"], Nothing, Keep),
    opt(&["embedded-relocs"], Nothing, HostOnly),
    opt(&["fatal-warnings", "no-fatal-warnings"], Nothing, HostOnly),
    opt(&["fini"], Value, HostOnly),
    opt(&["force-exe-suffix"], Nothing, HostOnly),
    opt(&["gc-sections", "no-gc-sections"], Nothing, Keep),
    opt(
        &["print-gc-sections", "no-print-gc-sections"],
        Nothing,
        HostOnly,
    ),
    opt(&["gc-keep-exported"], Nothing, HostOnly),
    opt(&["hash-size"], Value, HostOnly),
    opt(&["help", "target-help"], Nothing, Inform),
    opt(&["init"], Value, HostOnly),
    opt(&["Map"], Value, HostOnly),
    opt(&["no-define-common"], Nothing, Keep),
    opt(
        &["no-keep-memory", "reduce-memory-overheads"],
        Nothing,
        Keep,
    ),
    opt(&["max-cache-size"], Value, Keep),
    opt(&["no-undefined"], Nothing, HostOnly),
    opt(&["w", "no-warnings"], Nothing, HostOnly),
    opt(
        &["allow-shlib-undefined", "no-allow-shlib-undefined"],
        Nothing,
        HostOnly,
    ),
    opt(&["allow-multiple-definition"], Nothing, Keep),
    opt(&["error-handling-script"], Value, HostOnly),
    opt(
        &["undefined-version", "no-undefined-version"],
        Nothing,
        HostOnly,
    ),
    opt(
        &["default-symver", "default-imported-symver"],
        Nothing,
        HostOnly,
    ),
    opt(
        &["no-warn-mismatch", "no-warn-search-mismatch"],
        Nothing,
        Keep,
    ),
    opt(&["whole-archive", "no-whole-archive"], Nothing, Positional),
    opt(&["noinhibit-exec"], Nothing, Keep),
    opt(&["nostdlib"], Nothing, Keep),
    opt(&["oformat"], Value, OutputFormat),
    opt(&["print-output-format", "print-sysroot"], Nothing, Inform),
    opt(&["qmagic"], Nothing, HostOnly),
    opt(&["relax", "no-relax"], Nothing, Keep),
    opt(&["retain-symbols-file"], Value, HostOnly),
    opt(&["rpath", "rpath-link"], Value, HostOnly),
    opt(&["shared", "Bshareable"], Nothing, Shared),
    opt(&["pie", "pic-executable"], Nothing, Pie),
    opt(&["no-pie"], Nothing, NoPie),
    opt(&["sort-common"], Joined, Keep),
    opt(&["sort-section"], Value, Keep),
    opt(&["spare-dynamic-tags"], Value, HostOnly),
    opt(&["split-by-file", "split-by-reloc"], Joined, Keep),
    opt(&["stats"], Nothing, HostOnly),
    opt(&["task-link"], Value, HostOnly),
    opt(&["traditional-format"], Nothing, HostOnly),
    opt(&["section-start"], Value, Keep),
    // The user cannot choose the address of an image's program: its thunks must reach the kernel.
    opt(
        &["Tbss", "Tdata", "Ttext", "Ttext-segment"],
        Value,
        HostOnly,
    ),
    opt(&["Trodata-segment", "Tldata-segment"], Value, HostOnly),
    opt(&["unresolved-symbols"], Value, Keep),
    opt(&["verbose", "dll-verbose"], Joined, HostOnly),
    opt(&["version-script"], Value, HostOnly),
    opt(&["version-exports-section"], Value, HostOnly),
    opt(
        &["dynamic-list-data", "dynamic-list-cpp-new"],
        Nothing,
        HostOnly,
    ),
    opt(&["dynamic-list-cpp-typeinfo"], Nothing, HostOnly),
    opt(&["dynamic-list", "export-dynamic-symbol"], Value, HostOnly),
    opt(&["export-dynamic-symbol-list"], Value, HostOnly),
    opt(&["warn-common", "warn-constructors"], Nothing, HostOnly),
    opt(&["warn-execstack", "no-warn-execstack"], Nothing, HostOnly),
    opt(
        &["warn-rwx-segments", "no-warn-rwx-segments"],
        Nothing,
        HostOnly,
    ),
    opt(
        &["warn-multiple-gp", "warn-once", "warn-section-align"],
        Nothing,
        HostOnly,
    ),
    opt(
        &["warn-textrel", "no-warn-textrel", "warn-alternate-em"],
        Nothing,
        HostOnly,
    ),
    opt(&["warn-shared-textrel"], Nothing, HostOnly),
    opt(
        &["warn-unresolved-symbols", "error-unresolved-symbols"],
        Nothing,
        Keep,
    ),
    opt(&["wrap"], Value, Wrap),
    opt(&["ignore-unresolved-symbol"], Value, Symbol),
    opt(&["push-state", "pop-state"], Nothing, Positional),
    // Options of other linkers.
    opt(&["start-lib", "end-lib"], Nothing, Positional),
    opt(&["print-memory-usage"], Nothing, HostOnly),
    opt(&["orphan-handling"], Value, HostOnly),
    opt(
        &["print-map-discarded", "no-print-map-discarded"],
        Nothing,
        HostOnly,
    ),
    opt(&["ctf-variables", "no-ctf-variables"], Nothing, HostOnly),
    opt(&["ctf-share-types"], Value, HostOnly),
    opt(
        &["ld-generated-unwind-info", "no-ld-generated-unwind-info"],
        Nothing,
        HostOnly,
    ),
    opt(&["build-id"], Joined, Keep),
    opt(&["package-metadata"], Joined, Keep),
    opt(&["compress-debug-sections"], Value, Keep),
    opt(&["z"], Value, Keyword),
    opt(
        &["disable-new-dtags", "enable-new-dtags"],
        Nothing,
        HostOnly,
    ),
    opt(&["eh-frame-hdr", "no-eh-frame-hdr"], Nothing, HostOnly),
    opt(&["exclude-libs"], Value, HostOnly),
    opt(&["hash-style"], Value, HostOnly),
    opt(&["P", "depaudit"], Value, HostOnly),
];
