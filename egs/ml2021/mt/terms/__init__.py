"""What a translator gives, and the glossary whose terms its translations should keep.

mt.llm, mt and st may import all of it; it imports no other room of ml2021.
"""
