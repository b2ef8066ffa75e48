"""The default recipe: history-aware features, one conditional logit, heads of a few numbers.

``record_features``, ``answer_features`` and ``label_features`` turn a context
and its items into numbers, ``label_model`` adds what other users' records
say, ``listwise`` fits weights, ``recipe`` binds them into a Recipe.
"""
