//! Does an implementation keep the contract? The promises of both traits as public test functions.
