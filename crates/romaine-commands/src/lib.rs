//! Every command as a value that knows its reply type, its keys and its flags.
