def test_chain(chain):
    print(chain.folder)
