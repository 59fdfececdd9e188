//! A Redis/Valkey client whose connections never die silently.
