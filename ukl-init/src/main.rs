//! The guest's init: an ordinary process that starts the program and stops the machine.

fn main() {
    if std::process::id() != 1 {
        eprintln!("ukl-init: error: this is the init of an image's guest, not a command to run");
        std::process::exit(125);
    }
    ukl_init::run()
}
