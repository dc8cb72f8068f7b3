//! The table of driver files: which library, program, socket or file belongs to which capability.
