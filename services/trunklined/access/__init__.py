"""Who may do what: identities, what proves them, and the file that says what each may do. It knows no gRPC.

identity    Identity: who makes a call
tokens      static tokens: a file of names and salted hashes
jwt         tokens that somebody else signs, by the keys of a file or of a JWKS document
jwt_terms   what they must say
proof       Proof: what is taken for a proof, read anew when its files change
rights      the rights there are, and Need: what a call asks for
access_file reads the file, and names line and word of what is wrong
policy      Policy: what the file allows
gate        Gate: what one call's caller may do
control     AccessControl: gates that are open, and what happens to them when files change
limits      what an identity may use, and what it has used
refusals    how often whom was refused what
audit       denials, and acts of administration, as JSON lines
command     `trunklined access`
"""
