"""GraphQL at ``/graphql``: the schema is made of the operations, and each root field is a call."""
