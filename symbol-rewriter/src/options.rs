//! The options of the rewriter.

/// The options of the rewriter.
#[derive(Debug, Clone)]
pub struct Options {
    /// The prefix of every program symbol.
    pub prefix: Vec<u8>,
    /// Whether to rewrite instructions: `syscall` to a call of a thunk, and instructions that fault
    /// only at ring 3 to a fault at any ring.
    pub rewrite_sites: bool,
    /// Whether a site may take the call form, which replaces its `syscall` altogether.
    pub call_form: bool,
    /// The functions of `--wrap`: undefined references to `f` become references to `__wrap_f`, and
    /// those to `__real_f` become references to `f`, as the linker makes them.
    pub wrap: Vec<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            prefix: b"_ukl_".to_vec(),
            rewrite_sites: true,
            call_form: false,
            wrap: Vec::new(),
        }
    }
}
